"""Writes placement.txt: where keys go, by a second implementation that shares no code with the first.

SipHash-2-4 as its paper has it (checked against the paper's vector), exact integers for rendezvous hashing, 60 decimal
digits for the logarithm of the weighted kind. Python's standard library only:

    python3 placement.py > placement.txt

A line that changes is a session key that moves in every installation.
"""

from decimal import Decimal, getcontext

getcontext().prec = 60
M = (1 << 64) - 1
SEED = bytes(range(16))


def rotl(x, b):
    return (x << b | x >> (64 - b)) & M


def siphash(key, data):
    k0, k1 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & M
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & M
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & M
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & M
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for i in range(0, len(padded), 8):
        m = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= m
        rounds(2)
        v[0] ^= m
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


assert siphash(SEED, bytes(range(15))) == 0xA129CA6149BE45E5


def score(key, name):
    z = (siphash(SEED, key.encode()) + siphash(SEED, name.encode())) & M
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M
    z = (z ^ z >> 27) * 0x94D049BB133111EB & M
    return z ^ z >> 31


def pod_of(key, pods):
    return max(pods, key=lambda pod: score(key, pod))


def backend_of(key, weights):
    def clock(name):
        return -(Decimal(score(key, name)) / Decimal(2**64)).ln() / weights[name]

    return min((name for name in weights if weights[name]), key=clock)


KEYS = [f"user-{i}" for i in range(40)] + ["", "ü", "x" * 1000, "pod-1"]

for key in KEYS:
    print("key", key, f"{siphash(SEED, key.encode()):016x}", sep="\t")
for n in (1, 2, 3, 10, 200):
    for key in KEYS:
        print("pod", n, key, pod_of(key, [f"pod-{i}" for i in range(n)]), sep="\t")
for shares in ("shop/chat:80=90 shop/canary:80=10", "a/a:1=1 a/b:1=0 a/c:1=7 a/d:1=1000000"):
    weights = {name: int(weight) for name, weight in (share.split("=") for share in shares.split())}
    for key in KEYS:
        print("backend", shares, key, backend_of(key, weights), sep="\t")
