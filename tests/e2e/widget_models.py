"""Models for the avatar's tests, written byte by byte: GLB files good and bad, and a VRM 1.0 that is as small as one can be."""

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

_FLOAT = 5126
_UINT32 = 5125
_BOX = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
_BOX_TRIANGLES = [
    *(0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1),
    *(2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3),
]

Vector = tuple[float, float, float]


@dataclass(slots=True, kw_only=True)
class Glb:
    """A file in the making. `json` is its head; methods return the index of what they add."""

    json: dict[str, Any] = field(
        default_factory=lambda: {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}]}
    )
    _binary: bytearray = field(default_factory=bytearray)

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        entries = self.json.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def view(self, data: bytes) -> int:
        """A buffer view of these bytes."""
        begin = len(self._binary)
        self._binary += data + bytes(-len(data) % 4)
        return self.add("bufferViews", {"buffer": 0, "byteOffset": begin, "byteLength": len(data)})

    def vectors(self, points: list[Vector]) -> int:
        """An accessor of points."""
        data = b"".join(struct.pack("<3f", *point) for point in points)
        bounds = {
            "min": [min(axis) for axis in zip(*points, strict=True)],
            "max": [max(axis) for axis in zip(*points, strict=True)],
        }
        entry = {"bufferView": self.view(data), "componentType": _FLOAT, "count": len(points), "type": "VEC3", **bounds}
        return self.add("accessors", entry)

    def indices(self, numbers: list[int]) -> int:
        data = struct.pack(f"<{len(numbers)}I", *numbers)
        entry = {"bufferView": self.view(data), "componentType": _UINT32, "count": len(numbers), "type": "SCALAR"}
        return self.add("accessors", entry)

    def box(
        self, *, size: Vector, at: Vector = (0, 0, 0), morphs: dict[str, Vector] | None = None, times: int = 1
    ) -> int:
        """A mesh: a box, whose morphs move it as a whole. `times`: its triangles are listed so often."""
        points: list[Vector] = [(x * size[0] + at[0], y * size[1] + at[1], z * size[2] + at[2]) for x, y, z in _BOX]
        primitive: dict[str, Any] = {
            "attributes": {"POSITION": self.vectors(points)},
            "indices": self.indices(_BOX_TRIANGLES * times),
        }
        mesh: dict[str, Any] = {"primitives": [primitive]}
        if morphs:
            primitive["targets"] = [{"POSITION": self.vectors([move] * len(points))} for move in morphs.values()]
            mesh["extras"] = {"targetNames": list(morphs)}
        return self.add("meshes", mesh)

    def to_bytes(self) -> bytes:
        if self._binary and "buffers" not in self.json:
            self.json["buffers"] = [{"byteLength": len(self._binary)}]
        head = json.dumps(self.json).encode()
        head += b" " * (-len(head) % 4)
        body = bytes(self._binary) + bytes(-len(self._binary) % 4)
        chunks = struct.pack("<II", len(head), 0x4E4F534A) + head
        if body:
            chunks += struct.pack("<II", len(body), 0x004E4942) + body
        return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def box_glb(*, times: int = 1, **head: Any) -> bytes:
    """A box without clips; `head` goes into the file's JSON."""
    glb = Glb()
    glb.add("nodes", {"name": "box", "mesh": glb.box(size=(1, 2, 1), times=times)})
    glb.json.update(head)
    return glb.to_bytes()


def textured_glb(red: int, green: int, blue: int) -> bytes:
    """A box whose unlit colour comes from an image inside the file."""
    glb = Glb()
    mesh = glb.box(size=(1, 1, 1))
    image = glb.add("images", {"bufferView": glb.view(_png(red, green, blue)), "mimeType": "image/png"})
    texture = glb.add("textures", {"source": image})
    material = {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": texture}},
        "extensions": {"KHR_materials_unlit": {}},
        "doubleSided": True,
    }
    primitive = glb.json["meshes"][mesh]["primitives"][0]
    primitive["material"] = glb.add("materials", material)
    uv = struct.pack("<16f", *[0.5] * 16)
    accessor = {"bufferView": glb.view(uv), "componentType": _FLOAT, "count": 8, "type": "VEC2"}
    primitive["attributes"]["TEXCOORD_0"] = glb.add("accessors", accessor)
    glb.json["extensionsUsed"] = ["KHR_materials_unlit"]
    glb.add("nodes", {"name": "box", "mesh": mesh})
    return glb.to_bytes()


def _png(red: int, green: int, blue: int) -> bytes:
    """An image of 2048 x 4 pixels of one colour: wider than the widget keeps."""
    rows = (b"\0" + bytes((red, green, blue)) * 2048) * 4

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", 2048, 4, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# bone: its parent and where it is, from the parent, in metres
_BONES: dict[str, tuple[str, Vector]] = {
    "hips": ("", (0, 0.9, 0)),
    "spine": ("hips", (0, 0.15, 0)),
    "chest": ("spine", (0, 0.15, 0)),
    "head": ("chest", (0, 0.3, 0)),
    **{
        f"{side}{bone}": (f"{side}{parent}" if parent[0].isupper() else parent, (x * sign, y, 0))
        for side, sign in (("left", 1), ("right", -1))
        for bone, parent, x, y in (
            ("UpperLeg", "hips", 0.1, 0),
            ("LowerLeg", "UpperLeg", 0, -0.45),
            ("Foot", "LowerLeg", 0, -0.4),
            ("UpperArm", "chest", 0.18, 0.22),
            ("LowerArm", "UpperArm", 0.26, 0),
            ("Hand", "LowerArm", 0.24, 0),
        )
    },
}
_EXPRESSIONS: dict[str, Vector] = {
    "happy": (0, 0.02, 0),
    "surprised": (0, 0.03, 0),
    "blink": (0, 0, 0.01),
    "aa": (0, -0.02, 0),
    "oh": (0, -0.01, 0),
    "relaxed": (0, 0.01, 0),
}


def minimal_vrm() -> bytes:
    """A figure of boxes, 1.6 m tall, arms spread, looking to +z: the bones a VRM 1.0 has to have, six expressions, look-at."""
    glb = Glb()
    nodes: dict[str, int] = {}
    for bone, (parent, at) in _BONES.items():
        nodes[bone] = glb.add("nodes", {"name": bone, "translation": list(at), "children": []})
        if parent:
            glb.json["nodes"][nodes[parent]]["children"].append(nodes[bone])
    body: dict[str, tuple[Vector, Vector]] = {
        "hips": ((0.3, 0.2, 0.2), (0, 0, 0)),
        "chest": ((0.34, 0.4, 0.2), (0, 0.05, 0)),
        "leftUpperArm": ((0.25, 0.09, 0.09), (0.13, 0, 0)),
        "leftLowerArm": ((0.3, 0.07, 0.07), (0.15, 0, 0)),
        "rightUpperArm": ((0.25, 0.09, 0.09), (-0.13, 0, 0)),
        "rightLowerArm": ((0.3, 0.07, 0.07), (-0.15, 0, 0)),
    }
    for bone, (size, at) in body.items():
        glb.json["nodes"][nodes[bone]]["mesh"] = glb.box(size=size, at=at)
    face = glb.box(size=(0.22, 0.26, 0.22), at=(0, 0.13, 0), morphs=_EXPRESSIONS)
    head = nodes["head"]
    glb.json["nodes"][head]["mesh"] = face
    binds = [
        {name: {"morphTargetBinds": [{"node": head, "index": index, "weight": 1.0}]}}
        for index, name in enumerate(_EXPRESSIONS)
    ]
    preset = {name: expression for bind in binds for name, expression in bind.items()}
    look = {"inputMaxValue": 90, "outputScale": 10}
    glb.json["extensionsUsed"] = ["VRMC_vrm"]
    glb.json["extensions"] = {
        "VRMC_vrm": {
            "specVersion": "1.0",
            "meta": {"name": "Boxes", "authors": ["chatwright"], "licenseUrl": "https://vrm.dev/licenses/1.0/"},
            "humanoid": {"humanBones": {bone: {"node": node} for bone, node in nodes.items()}},
            "expressions": {"preset": preset},
            "lookAt": {
                "type": "expression",
                "offsetFromHeadBone": [0, 0.1, 0],
                **{
                    f"rangeMap{axis}": look
                    for axis in ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")
                },
            },
        }
    }
    return glb.to_bytes()
