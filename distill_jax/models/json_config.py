"""Configurations of models as JSON, for `config.json`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from distill_jax.errors import UserError


class JsonConfig:
    """A frozen dataclass that describes a model; `from_dict` reads what `to_dict` wrote.

    Attributes:
        model_type: what `config.json` calls the kind of model.
        sizes: fields that the data of a run decide: 0 until then, and in no file.
    """

    model_type: ClassVar[str]
    sizes: ClassVar[tuple[str, ...]] = ()

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """The content of a model directory's `config.json`."""
        return {"model_type": self.model_type, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` wrote; fields but `sizes` may be absent.

        Raises `UserError` if it describes another kind of model, or has missing, unknown or wrong fields.
        """
        name, values = cls.__name__, dict(values)
        model_type = values.pop("model_type", None)
        if model_type != cls.model_type:
            raise UserError(f"{name}: model_type is {model_type!r}, expected {cls.model_type!r}")
        types = {field.name: field.type for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - set(types)):
            raise UserError(f"{name}: unknown fields {', '.join(unknown)}; remove them")
        if missing := sorted(set(cls.sizes) - set(values)):
            raise UserError(f"{name}: fields {', '.join(missing)} are missing; add them")
        for field, value in values.items():
            expected = _EXPECTED.get(types[field], (str,))
            if not isinstance(value, expected) or (
                isinstance(value, bool) and bool not in expected
            ):
                raise UserError(f"{name}: {field} is {value!r}, of the wrong type; correct it")
        config = cls(**values)
        for field in cls.sizes:
            if not getattr(config, field):
                raise UserError(f"{name}: {field} is 0; correct the file")
        return config


_EXPECTED: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,)}
