#!/usr/bin/env python3
"""Prints a fresh address of bitcoind's wallet: `new_address.py HOST:PORT USER PASSWORD`."""

import base64
import json
import sys
import urllib.request

address, user, password = sys.argv[1:]
token = base64.b64encode(f"{user}:{password}".encode()).decode()
body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": "getnewaddress", "params": []})
request = urllib.request.Request(f"http://{address}/", body.encode(), {"Authorization": f"Basic {token}"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(request, timeout=20) as answer:
    print(json.load(answer)["result"])
