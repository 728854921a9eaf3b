"""The HTLC on Liquid: its script and address, and the transaction that takes its coins back.

    OP_IF    OP_SIZE 32 OP_EQUALVERIFY OP_SHA256 <hash> OP_EQUALVERIFY <claim key>
    OP_ELSE  <timeout> OP_CHECKLOCKTIMEVERIFY OP_DROP <refund key>
    OP_ENDIF OP_CHECKSIG

Coins of regtest are worth nothing, and so is this arithmetic on secp256k1, which takes its time as an attacker likes it: for
others use a library.
"""

import hashlib
import secrets
from collections import namedtuple

Coin = namedtuple("Coin", "txid vout sat")
FEE_SAT = 100


def sha256(data):
    return hashlib.sha256(data).digest()


def sha256d(data):
    return sha256(sha256(data))


# Keys and signatures: secp256k1, with points as (x, y) and None for the one at infinity.
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and a[1] != b[1]:
        return None
    slope = 3 * a[0] ** 2 * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope**2 - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(k, point=G):
    result = None
    while k:
        result, point, k = add(result, point) if k & 1 else result, add(point, point), k >> 1
    return result


def new_secret():
    return secrets.randbelow(N - 1) + 1


def public_key(secret):
    x, y = multiply(secret)
    return bytes([2 + y % 2]) + x.to_bytes(32, "big")


def is_public_key(text):
    """Whether it is a compressed key on the curve, in hexadecimal digits."""
    try:
        key = bytes.fromhex(text)
    except (TypeError, ValueError):
        return False
    x = int.from_bytes(key[1:], "big")
    return len(key) == 33 and key[0] in (2, 3) and x < P and pow(x**3 + 7, (P - 1) // 2, P) == 1


def sign(secret, digest):
    nonce = new_secret()
    r = multiply(nonce)[0] % N
    s = pow(nonce, -1, N) * (int.from_bytes(digest, "big") + r * secret) % N
    s = min(s, N - s)  # nodes relay no other (BIP 146)

    def number(value):
        data = value.to_bytes(value.bit_length() // 8 + 1, "big")
        return bytes([2, len(data)]) + data

    body = number(r) + number(s)
    return bytes([0x30, len(body)]) + body


# Script and address.
def script(payment_hash, claim_key, refund_key, timeout):
    assert timeout > 16  # smaller numbers have opcodes of their own
    height = timeout.to_bytes(timeout.bit_length() // 8 + 1, "little")  # a sign bit stays free
    return (
        b"\x63\x82\x01\x20\x88\xa8\x20" + payment_hash + b"\x88\x21" + claim_key
        + b"\x67" + bytes([len(height)]) + height + b"\xb1\x75\x21" + refund_key
        + b"\x68\xac"
    )  # fmt: skip


def script_pubkey(witness_script):
    return b"\x00\x20" + sha256(witness_script)


def address(witness_script, prefix="ert"):
    """The unconfidential P2WSH address of liquidregtest (BIP 173)."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    bits = "".join(f"{byte:08b}" for byte in sha256(witness_script)) + "0000"
    data = [0] + [int(bits[at : at + 5], 2) for at in range(0, 260, 5)]
    check = 1
    for value in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + data + [0] * 6:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for at, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> at & 1 else 0
    data += [(check ^ 1) >> 5 * (5 - at) & 31 for at in range(6)]
    return prefix + "1" + "".join(letters[value] for value in data)


# The refund: a transaction of Elements, with explicit amounts.
def short(data):
    """Data with its length before it."""
    size = len(data)
    return (bytes([size]) if size < 253 else b"\xfd" + size.to_bytes(2, "little")) + data


def refund(coins, witness_script, timeout, secret, to, lbtc):
    """Everything in `coins` to the script `to`, signed; valid when the chain has the height `timeout`."""
    le4 = lambda number: number.to_bytes(4, "little")
    amount = lambda sat: b"\x01" + sat.to_bytes(8, "big")
    output = lambda sat, script: b"\x01" + bytes.fromhex(lbtc)[::-1] + amount(sat) + b"\x00" + short(script)
    sequence = le4(0xFFFFFFFD)  # the last one would switch the locktime off (BIP 65)
    points = [bytes.fromhex(coin.txid)[::-1] + le4(coin.vout) for coin in coins]
    total = sum(coin.sat for coin in coins)
    outputs = output(total - FEE_SAT, to) + output(FEE_SAT, b"")
    inputs = b"".join(point + b"\x00" + sequence for point in points)
    witness = b""
    for point, coin in zip(points, coins):
        # BIP 143, with a hash of the issuances between those of the sequences and the input: there are none.
        digest = sha256d(
            le4(2) + sha256d(b"".join(points)) + sha256d(sequence * len(coins)) + sha256d(b"\x00" * len(coins))
            + point + short(witness_script) + amount(coin.sat) + sequence + sha256d(outputs) + le4(timeout) + le4(1)
        )  # fmt: skip
        stack = [sign(secret, digest) + b"\x01", b"", witness_script]
        witness += b"\x00\x00" + bytes([len(stack)]) + b"".join(map(short, stack)) + b"\x00"
    witness += b"\x00\x00" * 2
    return le4(2) + b"\x01" + bytes([len(coins)]) + inputs + b"\x02" + outputs + le4(timeout) + witness
