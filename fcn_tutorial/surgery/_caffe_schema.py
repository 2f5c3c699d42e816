"""The part of Caffe's file format that holds weights, as protobuf message classes.

Field numbers are those of BVLC/caffe, src/caffe/proto/caffe.proto. Fields left out here, such as
the settings of a convolution, are skipped when a file is read. Some types are wider than there:

- names are bytes, so that text that is not UTF-8 is noticed by the reader, whatever the version
  of protobuf does with it, and the types of the old layers are numbers;
- numbers that a blob stores packed, one run of bytes, are read as that run. Reading them as
  floats would make 134 million Python objects of a VGG16. `LooseBlob` has the plain types, for
  the rare file that stores its numbers one by one.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "fcn_tutorial.caffe"
_MESSAGES = {
    "NetParameter": (
        "repeated V1LayerParameter layers = 2",
        "repeated LayerParameter layer = 100",
    ),
    "LayerParameter": (
        "optional bytes name = 1",
        "optional bytes type = 2",
        "repeated bytes bottom = 3",
        "repeated bytes top = 4",
        "repeated BlobProto blobs = 7",
        "optional PythonParameter python_param = 130",
    ),
    "V1LayerParameter": (
        "repeated bytes bottom = 2",
        "repeated bytes top = 3",
        "optional bytes name = 4",
        "optional int64 type = 5",
        "repeated BlobProto blobs = 6",
    ),
    "PythonParameter": ("optional bytes param_str = 3",),
    "BlobProto": (
        "optional int64 num = 1",
        "optional int64 channels = 2",
        "optional int64 height = 3",
        "optional int64 width = 4",
        "repeated bytes data = 5",
        "optional BlobShape shape = 7",
        "repeated bytes double_data = 8",
    ),
    "LooseBlob": ("repeated float data = 5", "repeated double double_data = 8"),
    "BlobShape": ("repeated int64 dim = 1",),
}


def _classes() -> dict[str, Any]:
    """Message classes by name, in a pool of their own, where no other caffe.proto is in the way."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="fcn_tutorial/caffe.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields:
            label, kind, field, _, number = line.split()
            added = message.field.add(name=field, number=int(number))
            added.label = kinds.Label.Value(f"LABEL_{label.upper()}")
            if kind in _MESSAGES:
                added.type = kinds.TYPE_MESSAGE
                added.type_name = f".{_PACKAGE}.{kind}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


CLASSES = _classes()
