"""Told when a module is imported, so that it can be watched from its first moment on and is never imported by us."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType


@contextmanager
def awaited(modules: Iterable[str], arrived: Callable[[str], None]) -> Iterator[None]:
    """Call `arrived` with the name of each of these modules: now where it is imported, else when it will have been."""
    modules = set(modules)
    late = _Late({name for name in modules if name not in sys.modules}, arrived)
    sys.meta_path.insert(0, late)
    try:
        for name in sorted(modules - late.names):
            arrived(name)
        yield
    finally:
        late.stop()


class _Late:
    """A finder that finds nothing and sees what others load."""

    def __init__(self, names: set[str], arrived: Callable[[str], None]) -> None:
        self.names, self._arrived = names, arrived

    def stop(self) -> None:
        self._arrived = lambda _name: None  # An import may be under way.
        sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.names:
            return None
        after = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else ()
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in after)), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                self._arrived(name)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
