"""Verify evidence that Pyramidion handed out, without Pyramidion.

    python verify.py EVIDENCE.zip [--key ID] [--json]

Needs Python 3.11 or later and the package `cryptography` (pip install cryptography), nothing else: no
database, no network. It shows that each fact in the file is one that the plant sealed, by the path from its
hash to a signed block head, and that images, maps and models are those that the facts name.

What it can't show by itself is whose key has signed: compare the key's id with the one that the plant
publishes, or give that one as --key. Exit code 0 when all is well, 1 when not.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from zlib import error as zlib_error

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CLOCKS = timedelta(minutes=5)
UNLISTED = {"evidence.json", "evidence.sig"}
Json = dict[str, Any]
FORMS = {"inspection/1", "result/1", "review/1", "review/2", "event/1", "model_version/1"}


class NoEvidenceError(Exception):
    """The file is none, or was cut or damaged so that it can't be read."""


class Evidence:
    """An evidence file, and the faults that were found in it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.faults: list[str] = []
        self.about: Json = json.loads(self.read("evidence.json"))
        self.keys: dict[str, Json] = {}
        self.heads: dict[int, Json] = {}
        self.facts: dict[str, list[Json]] = {}  # by kind

    def read(self, name: str) -> bytes:
        try:
            return self.archive.read(name)
        except KeyError:
            raise NoEvidenceError(f"{name} is not in it") from None

    def lines(self, name: str) -> list[bytes]:
        return self.read(name).split(b"\n")[:-1]

    def bad(self, why: str) -> None:
        self.faults.append(why)

    def verify(self, trusted: list[str]) -> None:
        self.verify_files()
        self.verify_keys(trusted)
        self.verify_statement()
        self.verify_heads()
        self.verify_facts()
        self.verify_blobs()
        self.verify_let_go()
        self.verify_completeness()

    def verify_files(self) -> None:
        """Every file is listed once, with its hash."""
        names = Counter(self.archive.namelist())
        listed = self.about["files"]
        for name in sorted(set(names) | set(listed) | UNLISTED):
            if names[name] > 1:
                self.bad(f"{name} is in the file {names[name]} times")
            elif name not in names:
                self.bad(f"{name} was taken out")
            elif name not in listed and name not in UNLISTED:
                self.bad(f"{name} was added")
            elif name in listed and self.sha256(name) != listed[name]:
                self.bad(f"{name} was changed")

    def sha256(self, name: str) -> str:
        found = hashlib.sha256()
        with self.archive.open(name) as member:
            while part := member.read(1 << 20):
                found.update(part)
        return found.hexdigest()

    def verify_keys(self, trusted: list[str]) -> None:
        """Each key's id is its hash, the key before has signed for it, and it has accepted that one."""
        before = None
        for line in self.lines("keys.jsonl"):
            key = json.loads(line)
            public, signature, acceptance = (
                bytes.fromhex(key.pop(name)) for name in ("public_key", "signature", "acceptance")
            )
            if hashlib.sha256(public).hexdigest() != key["key"]:
                self.bad(f"key {key['key'][:16]} has another public key than its id says")
            signer = public if before is None else self.keys[before]["public"]
            linked = key["introduced_by"] == before and key["form"] == "pyramidion-key/1"
            if not linked or not signed(public, acceptance, canonical(key)):
                self.bad(f"key {key['key'][:16]} has not accepted the key before it")
            elif not signed(signer, signature, canonical(key)) and not is_trusted(key["key"], trusted):
                self.bad(f"key {key['key'][:16]} was not introduced by the key before it")
            if before is not None:
                self.keys[before]["until"] = key["overlap_until"] or key["introduced_at"]
            self.keys[key["key"]] = {"public": public, "from": key["introduced_at"], "until": None}
            before = key["key"]
        for one in trusted:
            if not any(is_trusted(key, [one]) for key in self.keys):
                self.bad(f"no key of the evidence is {one}, which you trust: it was sealed with another key")

    def verify_statement(self) -> None:
        """The list of files and the counts were signed as well."""
        if self.about["form"] != "pyramidion-evidence/2":
            self.bad(f"form {self.about['form']!r} is not known here: use the verify.py of its time")
        key = self.keys.get(self.about["key"])
        signature = bytes.fromhex(self.read("evidence.sig").decode())
        if key is None or not signed(key["public"], signature, self.read("evidence.json")):
            self.bad("evidence.json is not what was signed")

    def verify_heads(self) -> None:
        for line in self.lines("heads.jsonl"):
            head = json.loads(line)
            signature = bytes.fromhex(head.pop("signature"))
            hash_ = head.pop("hash")
            content, number = canonical(head), head["number"]
            key = self.keys.get(head["key"])
            if key is None or not signed(key["public"], signature, content):
                self.bad(f"block {number} is not what was signed")
            elif not in_time(head["sealed_at"], key):
                self.bad(f"block {number} was signed with a key outside its time")
            if hashlib.sha256(content).hexdigest() != hash_ or head["form"] != "pyramidion-block/1":
                self.bad(f"block {number} was changed")
            self.heads[number] = head

    def verify_facts(self) -> None:
        """Each fact is a leaf of a block whose head was signed, and stands here once."""
        facts, proofs = self.lines("facts.jsonl"), self.lines("proofs.jsonl")
        if len(facts) != len(proofs):
            self.bad(f"{len(facts)} facts with {len(proofs)} proofs")
        places = set()
        for number, (content, line) in enumerate(zip(facts, proofs, strict=False), 1):
            fact, proof = json.loads(content), json.loads(line)
            kind = fact.get("form", "").split("/")[0]
            name = f"{kind} {fact.get('id', fact.get('inspection_id'))} (line {number})"
            head = self.heads.get(proof["block"])
            path = [bytes.fromhex(one) for one in proof["path"]]
            leaf = hashlib.sha256(b"\x00" + content).digest()
            if fact.get("form") not in FORMS:
                self.bad(f"{name} has a form that is not known here: use the verify.py of its time")
                continue
            if head is None or root_from(leaf, proof["position"], head["leaves"], path) != head["root"]:
                self.bad(f"{name} is not what was sealed")
            if (proof["block"], proof["position"]) in places:
                self.bad(f"{name} stands here twice")
            if not is_own(fact, kind):
                self.bad(f"{name} has a signature that was made for another record")
            places.add((proof["block"], proof["position"]))
            self.facts.setdefault(kind, []).append(fact)

    def verify_blobs(self) -> None:
        """Images, maps and models are those that the facts name."""
        inspections = {one["id"]: one for one in self.facts.get("inspection", [])}
        versions = {one["id"]: one for one in self.facts.get("model_version", [])}
        self.verify_belonging(inspections, versions)
        listed = self.about["inspections"]
        for id_ in sorted(set(inspections) ^ set(listed)):
            self.bad(f"inspection {id_} is listed or proved, but not both")
        wanted = {
            listed[id_]["image"]: one["image_sha256"] for id_, one in inspections.items() if id_ in listed
        }
        for one in self.facts.get("result", []):
            if one["map"] is not None:
                wanted[f"maps/{one['inspection_id']}.png"] = one["map"]["sha256"]
        wanted |= {f"models/{id_}.json": id_ for id_ in versions}  # a version is its manifest's hash
        names = set(self.archive.namelist())
        missing = {one["file"] for one in self.about["missing"]} - names
        for name, sha256 in wanted.items():
            if name not in missing and (name not in names or self.sha256(name) != sha256):
                self.bad(f"{name} is not what was sealed")
        for name in sorted(names - set(wanted)):
            if name.startswith(("images/", "maps/", "models/")):
                self.bad(f"{name} belongs to no fact")

    def verify_belonging(self, inspections: dict[str, Json], versions: dict[str, Json]) -> None:
        """What the facts say of each other is here, and agrees."""
        for one in self.facts.get("result", []) + self.facts.get("review", []):
            if one["inspection_id"] not in inspections:
                self.bad(
                    f"{one['form'].split('/')[0]} on {one['inspection_id']} belongs to no inspection here"
                )
        for one in self.facts.get("result", []):
            model = one["model_version"]
            if model is not None and model not in versions:
                self.bad(f"result {one['inspection_id']} names model {model[:12]}, which is not here")
            elif model is not None and not same_threshold(versions[model]["manifest"], one["threshold"]):
                self.bad(f"result {one['inspection_id']} has another threshold than its model")

    def verify_let_go(self) -> None:
        """What retention let go of the lot stands so in acts that were sealed, each counted once."""
        acts = {one["id"]: one for one in self.facts.get("event", []) if one["kind"] == "retention.act"}
        counted = set()
        for one in self.about["let_go"]:
            said = f"{one['inspections']} {one['verdict']} of {one['product']}, let go by act {one['act']},"
            act = acts.get(one["act"])
            row = {name: one[name] for name in ("lot", "product", "verdict", "inspections")}
            leaf = hashlib.sha256(b"\x00" + canonical(row)).digest()
            path = [bytes.fromhex(sibling) for sibling in one["path"]]
            detail = {} if act is None else act["detail"]
            root = root_from(leaf, one["position"], detail.get("lots", 0), path)
            if act is None or root is None or root != detail["lots_root"] or one["at"] != act["at"]:
                self.bad(f"{said} are not what the act says")
            if one["lot"] != self.about["about"].get("lot") or (one["act"], one["position"]) in counted:
                self.bad(f"{said} are of another lot, or counted twice")
            counted.add((one["act"], one["position"]))

    def verify_completeness(self) -> None:
        """The counts that were signed are those of the facts, and of what the acts of retention say."""
        found = completeness(
            self.facts.get("inspection", []),
            self.facts.get("result", []),
            self.facts.get("review", []),
            sum(one["inspections"] for one in self.about["let_go"]),
        )
        for name, number in found.items():
            if self.about["completeness"].get(name) != number:
                said = self.about["completeness"].get(name)
                self.bad(f"completeness says {name}: {said}, but the facts say {number}")


def completeness(
    inspections: list[Json], results: list[Json], reviews: list[Json], let_go: int = 0
) -> dict[str, int]:
    """Count captured = judged + error + pending + let_go, all but the last of what is there.

    Overridden are those whose newest review overrules.
    """
    verdicts = Counter("error" if one["verdict"] == "error" else "judged" for one in results)
    newest = {one["inspection_id"]: one for one in sorted(reviews, key=lambda one: one["id"])}
    return {
        "captured": len(inspections) + let_go,
        "judged": verdicts["judged"],
        "error": verdicts["error"],
        "pending": len(inspections) - len(results),
        "let_go": let_go,
        "overridden": sum(one["verdict"] == "overrule" for one in newest.values()),
    }


def is_own(fact: Json, kind: str) -> bool:
    """Tell whether a person's signature in a review or an event names the hash of the rest of it."""
    record = {key: value for key, value in fact.items() if key != "form"}
    holder = record
    if kind == "event":
        holder = record["detail"] = dict(fact["detail"])
    signature = holder.pop("signature", None)
    if kind not in {"review", "event"} or not isinstance(signature, dict):
        return True
    found = hashlib.sha256(canonical(record)).hexdigest()
    return bool(signature.get("record_sha256") == found)


def canonical(value: Json) -> bytes:
    """RFC 8785, for objects of ASCII names, texts and whole numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed(public: bytes, signature: bytes, content: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_trusted(key: str, trusted: list[str]) -> bool:
    return any(key.startswith(one) for one in trusted)


def in_time(sealed_at: str, key: Json) -> bool:
    at = datetime.fromisoformat(sealed_at)
    until = key["until"]
    return datetime.fromisoformat(key["from"]) - CLOCKS <= at and (
        until is None or at <= datetime.fromisoformat(until) + CLOCKS
    )


def root_from(leaf: bytes, position: int, leaves: int, path: list[bytes]) -> str | None:
    """Give the root that a leaf leads to (RFC 6962, section 2.1), in hexadecimal digits."""
    if not 0 <= position < leaves:
        return None
    found, left = leaf, list(path)
    while leaves > 1:
        if position ^ 1 < leaves:
            if not left:
                return None
            other = left.pop(0)
            found = hashlib.sha256(b"\x01" + (other + found if position & 1 else found + other)).digest()
        position //= 2
        leaves = (leaves + 1) // 2
    return None if left else found.hex()


def same_threshold(manifest: str, threshold: float) -> bool:
    try:
        return bool(json.loads(manifest)["calibration"]["threshold"] == threshold)
    except (ValueError, KeyError, TypeError):
        return True  # a manifest of another shape says nothing of it


def verify(file: str, trusted: list[str]) -> Evidence:
    """Give the evidence with its faults; raises NoEvidenceError."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise NoEvidenceError(f"{damaged} in it is damaged")
            evidence = Evidence(archive)
            evidence.verify(trusted)
            return evidence
    except FileNotFoundError:
        raise NoEvidenceError("there is no such file") from None
    except (zipfile.BadZipFile, EOFError, zlib_error, NotImplementedError) as error:
        raise NoEvidenceError(
            f"it is no whole zip file ({error}): it was cut or damaged, ask for it again"
        ) from None
    except OSError as error:
        raise NoEvidenceError(f"it can't be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoEvidenceError(
            f"it is not in the form of evidence ({error!r}): it was tampered with"
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="EVIDENCE.zip")
    parser.add_argument("--key", action="append", default=[], help="id of a key that you trust, or 16 digits")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    trusted = [one.lower() for one in options.key]
    if any(len(one) < 16 for one in trusted):
        parser.error("--key takes 16 or more digits of the key's id")
    try:
        evidence = verify(options.file, trusted)
    except NoEvidenceError as error:
        report(options.json, {"ok": False, "faults": [f"{options.file}: {error}"]})
        return 1
    about = evidence.about
    report(
        options.json,
        {
            "ok": not evidence.faults,
            "about": about["about"],
            "completeness": about["completeness"],
            "facts": sum(map(len, evidence.facts.values())),
            "blocks": len(evidence.heads),
            "let_go": about["let_go"],
            "missing": about["missing"],
            "keys": list(evidence.keys),
            "trusted": trusted,
            "faults": evidence.faults,
        },
    )
    return 1 if evidence.faults else 0


def report(as_json: bool, found: Json) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for why in found["faults"]:
        sys.stdout.write(f"BAD {why}\n")
    if "about" in found:
        what = ", ".join(f"{name} {value}" for name, value in found["about"].items())
        counts = ", ".join(
            f"{value} {name.replace('_', ' ')}" for name, value in found["completeness"].items()
        )
        sys.stdout.write(f"{what}: {counts}\n")
        for one in found["let_go"]:
            said = f"{one['inspections']} {one['verdict']} of {one['product']} were"
            sys.stdout.write(f"{said} let go by retention at {one['at']}, act {one['act']}\n")
        for one in found["missing"]:
            sys.stdout.write(f"stated as missing: {one['file']}: {one['why']}\n")
        for key in found["keys"]:
            trusted = is_trusted(key, found["trusted"])
            note = "which you trust" if trusted else "compare with the id that the plant publishes"
            sys.stdout.write(f"key {key} ({note})\n")
    if found["ok"]:
        sys.stdout.write(f"OK: {found['facts']} facts are as they were sealed, in {found['blocks']} blocks\n")
    else:
        sys.stdout.write(f"NOT OK: {len(found['faults'])} faults\n")


if __name__ == "__main__":
    sys.exit(main())
