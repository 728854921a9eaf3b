#!/usr/bin/env python3
"""A server in another language, such as you may have one: orders for coins over HTTP, paid through bitcoind.

POST /orders {"address": "…", "sat": 50000}  ->  201 {"id": "…", "txid": "…", "state": "sent"}
GET  /orders/ID                              ->  200 {"id": "…", "txid": "…", "sat": 50000, "state": "sent" or "confirmed"}
GET  /health                                 ->  200 {"height": 101}

Orders survive a crash: each is a file in the directory of --data. `--lie` says that everything is confirmed.
It needs Python 3 and nothing else.
"""

import argparse
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    """bitcoind said no."""


class Bitcoind:
    def __init__(self, address, user, password):
        self.url = f"http://{address}/"
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        # The proxies of the environment are not for this machine.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method, *params):
        body = json.dumps({"jsonrpc": "1.0", "id": 1, "method": method, "params": params})
        request = urllib.request.Request(self.url, body.encode(), self.headers)
        try:
            with self.opener.open(request, timeout=20) as answer:
                return json.load(answer)["result"]
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["error"]["message"]) from error


class Desk:
    def __init__(self, bitcoind, data, lie):
        self.bitcoind, self.data, self.lie = bitcoind, data, lie

    def path(self, order_id):
        return os.path.join(self.data, f"order-{order_id}.json")

    def open(self, address, sat):
        coins = f"{sat // 100_000_000}.{sat % 100_000_000:08}"
        txid = self.bitcoind.call("sendtoaddress", address, coins)
        order = {"id": txid[:8], "txid": txid, "sat": sat}
        with open(self.path(order["id"]) + ".new", "w", encoding="utf-8") as file:
            json.dump(order, file)
        os.replace(self.path(order["id"]) + ".new", self.path(order["id"]))
        return order | {"state": "sent"}

    def look(self, order_id):
        with open(self.path(order_id), encoding="utf-8") as file:
            order = json.load(file)
        found = self.bitcoind.call("gettransaction", order["txid"])
        confirmed = self.lie or found["confirmations"] > 0
        return order | {"state": "confirmed" if confirmed else "sent"}


def handler(desk):
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/health":
                self.answer(200, {"height": desk.bitcoind.call("getblockcount")})
                return
            order_id = self.path.removeprefix("/orders/")
            if order_id.isalnum() and os.path.exists(desk.path(order_id)):
                self.answer(200, desk.look(order_id))
            else:
                self.answer(404, {"error": "no such order"})

        def do_POST(self):
            order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/orders":
                self.answer(404, {"error": "no such place"})
                return
            try:
                self.answer(201, desk.open(order["address"], order["sat"]))
            except Refused as error:
                self.answer(409, {"error": str(error)})

    return Handler


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True, help="HOST:PORT")
    parser.add_argument("--bitcoind", required=True, help="HOST:PORT of its JSON-RPC")
    parser.add_argument("--data", required=True, help="directory of the orders")
    parser.add_argument("--lie", action="store_true")
    args = parser.parse_args()
    bitcoind = Bitcoind(args.bitcoind, os.environ["RPC_USER"], os.environ["RPC_PASSWORD"])
    host, port = args.listen.rsplit(":", 1)
    desk = Desk(bitcoind, args.data, args.lie)
    server = ThreadingHTTPServer((host, int(port)), handler(desk))
    print(f"listening on {args.listen}", file=sys.stderr, flush=True)
    server.serve_forever()


main()
