#!/usr/bin/env python3
"""A small swap server, such as you may have one: it sells L-BTC on Liquid for a Lightning payment.

POST /swaps {"sat": 50000, "claim_key": "02…"}
                  ->  201 {"id", "invoice", "refund_key", "timeout", "address", "state": "locked", …}
GET  /swaps/ID    ->  200 the same
GET  /swaps       ->  200 {"swaps": [ … ]}
GET  /health      ->  200 {}

The shop knows the preimage. It locks the coins in an HTLC (htlc.py) that the buyer's key opens with the preimage, and makes a
hold invoice of the same hash. Paying the invoice gives the buyer the preimage. The states:

    locking -> locked -> taking -> paid -> claimed      it was paid, and the buyer has the coins
                      -> closing -> refunded            nobody paid in time

What must not happen: a payment that is taken after the refund was sent, or a refund of what was paid. So "taking" and
"closing" are written to the disk before anything is done about them, and there is no way from one to the other.

A swap is a file in the directory of --data, and survives a crash. With --liar a request can ask to be cheated, so that a test
of a buyer has something to find: {"lie": "amount"}, "hash" or "timeout" locks something else than is said.
It needs Python 3 and nothing else.
"""

import argparse
import base64
import hashlib
import json
import os
import secrets
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True  # this directory may be somebody's repository
import htlc
from lightning import Lightning, LightningError

SMALLEST_SAT, LARGEST_SAT = 10_000, 80_000
REFUND_AFTER = 2_000  # blocks of Liquid, a day and a half: longer than a payment can hang on Lightning
NO_PAYMENT_BEFORE = 120  # blocks before the timeout from which on no payment is taken: the buyer needs time to claim
LOOK_EVERY = 0.05  # seconds


class Refused(Exception):
    """The request, or elementsd, said no."""


class Elements:
    def __init__(self, address, user, password, wallet):
        self.url = f"http://{address}/wallet/{wallet}"
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
            raise Refused(f"{method}: {json.load(error)['error']['message']}") from error

    def coins(self, address):
        """What blocks have paid to an address, and no block has spent."""
        found = self.call("scantxoutset", "start", [f"addr({address})"])["unspents"]
        return [htlc.Coin(coin["txid"], coin["vout"], round(coin["amount"] * 10**8)) for coin in found]

    def confirmations(self, txid):
        return self.call("gettransaction", txid)["confirmations"]


class Shop:
    def __init__(self, elements, lightning, data, liar):
        self.elements, self.lightning, self.data, self.liar = elements, lightning, data, liar
        self.lock = threading.Lock()
        self.swaps = {}
        for name in sorted(os.listdir(data)):
            if name.endswith(".json"):
                with open(os.path.join(data, name), encoding="utf-8") as file:
                    swap = json.load(file)
                # Whether the coins went out before the crash, only the chain knows. Nobody was told of them.
                if swap["state"] == "locking":
                    swap["state"] = "closing"
                self.swaps[swap["id"]] = swap

    def save(self, swap, **changes):
        swap.update(changes)
        path = os.path.join(self.data, swap["id"] + ".json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(swap, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)

    def open(self, sat, claim_key, lie):
        if not isinstance(sat, int) or not SMALLEST_SAT <= sat <= LARGEST_SAT:
            raise Refused(f"sat must be from {SMALLEST_SAT} to {LARGEST_SAT}")
        if not htlc.is_public_key(claim_key):
            raise Refused("claim_key must be a compressed public key of 66 hexadecimal digits")
        if lie not in ((None, "amount", "hash", "timeout") if self.liar else (None,)):
            raise Refused(f"this shop does not lie about {lie}")
        preimage, secret = secrets.token_bytes(32), htlc.new_secret()
        payment_hash, refund_key = hashlib.sha256(preimage).digest(), htlc.public_key(secret)
        timeout = self.elements.call("getblockcount") + REFUND_AFTER
        price = sat + sat // 100
        locked_sat, locked_hash, locked_until = sat, payment_hash, timeout
        if lie == "amount":
            locked_sat = sat - 1_000
        elif lie == "hash":
            locked_hash = bytes(32)
        elif lie == "timeout":
            locked_until = timeout - REFUND_AFTER + 100
        script = htlc.script(locked_hash, bytes.fromhex(claim_key), refund_key, locked_until)
        swap = {
            "id": payment_hash.hex()[:16], "state": "locking", "sat": sat, "price_sat": price,
            "preimage": preimage.hex(), "secret": f"{secret:064x}", "refund_key": refund_key.hex(),
            "timeout": timeout, "locked_until": locked_until, "script": script.hex(), "address": htlc.address(script),
        }  # fmt: skip
        with self.lock:
            self.save(swap)  # the keys of the HTLC, before there are coins in it
            self.swaps[swap["id"]] = swap
            try:
                invoice = self.lightning.hold_invoice(payment_hash, price, f"swap {swap['id']}")
                coins = f"{locked_sat // 10**8}.{locked_sat % 10**8:08}"
                txid = self.elements.call("sendtoaddress", swap["address"], coins)
            except BaseException:
                self.save(swap, state="closing")  # as after a crash
                raise
            self.save(swap, state="locked", invoice=invoice, lock_txid=txid)
        return self.told(swap)

    def told(self, swap):
        return {key: value for key, value in swap.items() if key not in ("preimage", "secret", "locked_until", "script")}

    def watch(self):
        """Brings every swap on, for ever."""
        while True:
            with self.lock:
                for swap in list(self.swaps.values()):
                    try:
                        self.step(swap)
                    except (Refused, LightningError, OSError) as error:
                        print(f"{swap['id']} {swap['state']}: {error}", file=sys.stderr, flush=True)
            time.sleep(LOOK_EVERY)

    def step(self, swap):
        preimage = bytes.fromhex(swap["preimage"])
        payment_hash = hashlib.sha256(preimage).digest()
        height = self.elements.call("getblockcount")
        if swap["state"] == "locked":
            if height >= swap["locked_until"] - NO_PAYMENT_BEFORE:
                self.save(swap, state="closing")
            elif self.lightning.holds(payment_hash):
                self.save(swap, state="taking")
        elif swap["state"] == "taking":
            # A claim that the node was not ready for is lost without a word: it is made until the money is there.
            if self.lightning.is_paid(payment_hash):
                self.save(swap, state="paid")
            else:
                self.lightning.claim(payment_hash, swap["price_sat"], preimage)
        elif swap["state"] == "paid":
            if self.elements.confirmations(swap["lock_txid"]) > 0 and not self.elements.coins(swap["address"]):
                self.save(swap, state="claimed")
        elif swap["state"] == "closing":
            if self.lightning.holds(payment_hash):
                self.lightning.fail(payment_hash)
            if height >= swap["locked_until"]:
                self.take_back(swap)

    def take_back(self, swap):
        if "refund_txid" in swap and self.elements.confirmations(swap["refund_txid"]) > 0:
            self.save(swap, state="refunded")
            return
        if "refund" not in swap:
            coins = self.elements.coins(swap["address"])
            if not coins:
                return  # a reorganisation, or a crash before there were any: the chain may still bring them
            to = self.elements.call("getnewaddress", "", "bech32")
            to = bytes.fromhex(self.elements.call("getaddressinfo", to)["scriptPubKey"])
            lbtc = self.elements.call("getsidechaininfo")["pegged_asset"]
            script, secret = bytes.fromhex(swap["script"]), int(swap["secret"], 16)
            refund = htlc.refund(coins, script, swap["locked_until"], secret, to, lbtc)
            self.save(swap, refund=refund.hex())
        self.save(swap, refund_txid=self.elements.call("sendrawtransaction", swap["refund"]))


def handler(shop):
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            swap = shop.swaps.get(self.path.removeprefix("/swaps/"))
            if self.path == "/health":
                self.answer(200, {})
            elif self.path == "/swaps":
                self.answer(200, {"swaps": [shop.told(swap) for swap in list(shop.swaps.values())]})
            elif swap is not None:
                self.answer(200, shop.told(swap))
            else:
                self.answer(404, {"error": "no such swap"})

        def do_POST(self):
            try:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(201, shop.open(request.get("sat"), request.get("claim_key"), request.get("lie")))
            except (Refused, ValueError, AttributeError) as error:
                self.answer(400, {"error": str(error)})
            except (LightningError, OSError) as error:
                self.answer(502, {"error": str(error)})

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True, help="HOST:PORT")
    parser.add_argument("--elements", required=True, help="HOST:PORT of elementsd's JSON-RPC; RPC_USER and RPC_PASSWORD say who")
    parser.add_argument("--wallet", required=True, help="the wallet of elementsd that it sells from")
    parser.add_argument("--ldk", required=True, help="HOST:PORT of the API of its Lightning node")
    parser.add_argument("--ldk-cert", required=True, help="that node's TLS certificate")
    parser.add_argument("--ldk-key", required=True, help="the file with that node's API key")
    parser.add_argument("--data", required=True, help="directory of the swaps")
    parser.add_argument("--liar", action="store_true", help="lie to who asks for it")
    args = parser.parse_args()
    elements = Elements(args.elements, os.environ["RPC_USER"], os.environ["RPC_PASSWORD"], args.wallet)
    shop = Shop(elements, Lightning(args.ldk, args.ldk_cert, args.ldk_key), args.data, args.liar)
    host, port = args.listen.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), handler(shop))
    threading.Thread(target=serve_or_die, args=[shop.watch], daemon=True).start()
    print(f"listening on {args.listen}", file=sys.stderr, flush=True)
    server.serve_forever()


def serve_or_die(work):
    """A shop that no longer watches must not look alive."""
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)


main()
