"""The four calls to ldk-server that the shop makes. Its API is gRPC, and Python's library has no HTTP/2, so the frames are made
here by hand (RFC 9113, RFC 7541); with the package `grpcio` this file is ten lines. https://github.com/lightningdevkit/ldk-server
"""

import hmac
import socket
import ssl
import time


class LightningError(Exception):
    """The node said no, or nothing."""


def encode(fields):
    """A protobuf message of these (number, value)."""
    message = b""
    for number, value in fields:
        if isinstance(value, int):
            message += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            message += varint(number << 3 | 2) + varint(len(data)) + data
    return message


def varint(number):
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes(data) + bytes([number])


def decode(message):
    """The fields of a message: a list of (number, value), where a value is a number or bytes."""
    fields, at = [], 0

    def read_varint():
        nonlocal at
        number = shift = 0
        while True:
            byte, at = message[at], at + 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(message):
        key = read_varint()
        if key & 7 == 0:
            fields.append((key >> 3, read_varint()))
        elif key & 7 == 2:
            size = read_varint()
            fields.append((key >> 3, message[at : at + size]))
            at += size
        else:
            at += {1: 8, 5: 4}[key & 7]
    return fields


class Lightning:
    def __init__(self, address, certificate, api_key_file):
        self.address, self.api_key_file = address, api_key_file
        self.tls = ssl.create_default_context(cafile=certificate)
        self.tls.set_alpn_protocols(["h2"])

    def hold_invoice(self, payment_hash, sat, text):
        """An invoice whose payment waits until it is claimed or failed."""
        request = [(1, sat * 1_000), (2, encode([(1, text)])), (3, 3_600), (4, payment_hash.hex())]
        return dict(self.call("Bolt11ReceiveForHash", request))[1].decode()

    def holds(self, payment_hash):
        """Whether a payment waits: its HTLC is in a channel."""
        wanted = payment_hash.hex().encode()
        balances = [value for number, value in self.call("GetBalances", []) if number == 5]
        waiting = [dict(decode(value)) for balance in balances for kind, value in decode(balance) if kind == 5]
        return any(htlc.get(5) == wanted for htlc in waiting)

    def claim(self, payment_hash, sat, preimage):
        request = [(1, payment_hash.hex()), (2, sat * 1_000), (3, preimage.hex())]
        self.call("Bolt11ClaimForHash", request)

    def fail(self, payment_hash):
        self.call("Bolt11FailForHash", [(1, payment_hash.hex())])

    def is_paid(self, payment_hash):
        """Whether the node has the money. It uses the hash as the payment's id."""
        payment = dict(self.call("GetPaymentDetails", [(1, payment_hash.hex())])).get(1, b"")
        return dict(decode(payment)).get(5) == 1

    def call(self, method, fields):
        message = encode(fields)
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        with open(self.api_key_file, "rb") as file:
            key = file.read().hex().encode()
        now = int(time.time())
        proof = hmac.new(key, now.to_bytes(8, "big") + body, "sha256").hexdigest()
        headers = {
            ":method": "POST", ":scheme": "https", ":path": f"/api.LightningNode/{method}", ":authority": self.address,
            "content-type": "application/grpc+proto", "te": "trailers", "x-auth": f"HMAC {now}:{proof}",
        }  # fmt: skip
        host, port = self.address.rsplit(":", 1)
        try:
            with socket.create_connection((host, int(port)), timeout=10) as plain:
                with self.tls.wrap_socket(plain, server_hostname="localhost") as connection:
                    answer = exchange(connection, headers, body)
        except OSError as error:
            raise LightningError(f"{method}: {error}") from error
        if len(answer) < 5:
            raise LightningError(f"the node refused {method}")
        return decode(answer[5:])


def exchange(connection, headers, body):
    """One request over HTTP/2; gives the body of the answer."""
    frame = lambda kind, flags, stream, data: (
        len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data
    )
    text = lambda word: bytes([len(word)]) + word.encode()
    block = b"".join(b"\x00" + text(name) + text(value) for name, value in headers.items())
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0, b"")  # SETTINGS
        + frame(1, 4, 1, block)  # HEADERS, all of them
        + frame(0, 1, 1, body)  # DATA, the last
    )
    stream, answer = connection.makefile("rb"), b""
    while True:
        head = stream.read(9)
        if len(head) < 9:
            raise LightningError("the node closed the connection")
        data = stream.read(int.from_bytes(head[:3], "big"))
        kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == 0:
            answer += data
        elif kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0, b""))  # SETTINGS are acknowledged
        elif kind in (3, 7):
            raise LightningError("the node broke the call off")
        if kind in (0, 1) and flags & 1 and number == 1:
            return answer
