"""The few fields of ONNX's protocol buffers that rewriting a model at load time takes.

Reads the weights out of a model file, and writes a graph around them. The onnx package does the same and much more, for 20 MB
of installation that nothing else here needs. Called by `minilm_graph.py`.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 10
MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""

_OPSETS = {"": 17, MICROSOFT: 1}
_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
_NUMBERS = {np.dtype(kind): number for number, kind in _TYPES.items()}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def read_weights(model: bytes) -> dict[str, NDArray[Any]]:
    """The initializers of a serialised ModelProto, by name: views of its bytes.

    Those of other types than the five above are left out. Raises ValueError if the bytes are no such message.
    """
    weights: dict[str, NDArray[Any]] = {}
    for graph in _parts(memoryview(model), 7):
        for tensor in _parts(graph, 5):
            name, dims, kind, raw = "", list[int](), 0, memoryview(b"")
            for number, value in _fields(tensor):
                match number, value:
                    case 1, int():
                        dims.append(value)
                    case 1, memoryview():  # packed
                        dims.extend(_varints(value))
                    case 2, int():
                        kind = value
                    case 8, memoryview():
                        name = bytes(value).decode()
                    case 9, memoryview():
                        raw = value
                    case _:
                        pass
            if kind in _TYPES and raw:
                weights[name] = np.frombuffer(raw, _TYPES[kind]).reshape(dims)
    return weights


@dataclass(slots=True)
class Graph:
    """A graph under construction: every method gives the name of a value for the next one to read."""

    _content: list[bytes] = field(default_factory=list[bytes])
    _constants: set[str] = field(default_factory=set[str])

    def constant(self, name: str, value: Any) -> str:
        """A weight. One that is there already under this name is not written again."""
        if name not in self._constants:
            self._constants.add(name)
            array = np.ascontiguousarray(value)
            if np.ndim(value) == 0:  # ascontiguousarray makes a row of it
                array = array.reshape(())
            dims = b"".join(_integer(1, size) for size in array.shape)
            tensor = [dims, _integer(2, _NUMBERS[array.dtype]), _bytes(8, name.encode()), _bytes(9, array.tobytes())]
            self._content.append(_bytes(5, b"".join(tensor)))
        return name

    def node(
        self, kind: str, inputs: Sequence[str], output: str, *more: str, domain: str = "", **attributes: Any
    ) -> str:
        """An operator; its first output. Attributes are whole numbers, floats, or lists of whole numbers."""
        parts = [_bytes(1, name.encode()) for name in inputs]
        parts += [_bytes(2, name.encode()) for name in (output, *more)]
        parts += [_bytes(3, output.encode()), _bytes(4, kind.encode())]
        parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self._content.append(_bytes(1, b"".join([*parts, _bytes(7, domain.encode())])))
        return output

    def serialise(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The ModelProto. `inputs` are int64 of shape (texts, length); the outputs' types follow from the graph."""
        shape = b"".join(_bytes(1, _bytes(2, name)) for name in (b"texts", b"length"))
        kind = _bytes(2, _bytes(1, _integer(1, _NUMBERS[np.dtype(np.int64)]) + _bytes(2, shape)))
        ends = [_bytes(11, _bytes(1, name.encode()) + kind) for name in inputs]
        ends += [_bytes(12, _bytes(1, name.encode())) for name in outputs]
        opsets = [_bytes(8, _bytes(1, domain.encode()) + _integer(2, version)) for domain, version in _OPSETS.items()]
        content = b"".join([_bytes(2, b"graph"), *self._content, *ends])
        return b"".join([_integer(1, IR_VERSION), _bytes(7, content), *opsets])


def _attribute(name: str, value: float | list[int]) -> bytes:
    """AttributeProto: the name, the value in the field of its type, and that type's number."""
    if isinstance(value, float):
        content = struct.pack("<Bf", 2 << 3 | _FIXED32, value) + _integer(20, 1)
    elif isinstance(value, int):
        content = _integer(3, value) + _integer(20, 2)
    else:
        content = b"".join(_integer(8, each) for each in value) + _integer(20, 7)
    return _bytes(1, name.encode()) + content


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(value)


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF  # negative numbers: two's complement of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    for at, value in _fields(message):
        if at == number and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: a whole number, or the bytes of whatever has a length or a fixed size."""
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        match key & 7:
            case 0:
                value, at = _read_varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _read_varint(message, at)
            case 5:
                size = 4
            case wire:
                raise ValueError(f"not an ONNX model: wire type {wire}")
        if at + size > len(message):
            raise ValueError("not an ONNX model: it ends too early")
        yield key >> 3, message[at : at + size]
        at += size


def _varints(packed: memoryview) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _read_varint(packed, at)
        yield value


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("not an ONNX model: a number does not end")
