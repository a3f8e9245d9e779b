"""The sockets: what a source, a backbone, a PEFT method and a task must offer.

An extension is one file that defines a ``Spec`` with these methods, and its name in the union of its package.
The spec is light: heavy imports are inside its methods. The package calls nothing of an extension that is not
defined here.
"""

from weatherpeft.interfaces.backbone import Backbone, BackboneSpec
from weatherpeft.interfaces.method import Adapter, End, PeftMethod, TuningContext
from weatherpeft.interfaces.source import DataRequest, Source
from weatherpeft.interfaces.task import Task, TaskData

__all__ = [
    "Adapter",
    "Backbone",
    "BackboneSpec",
    "DataRequest",
    "End",
    "PeftMethod",
    "Source",
    "Task",
    "TaskData",
    "TuningContext",
]
