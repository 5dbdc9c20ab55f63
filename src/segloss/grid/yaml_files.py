"""YAML files read strictly: duplicate keys are errors, and ``1e-3`` is a number as in YAML 1.2."""

import re
from pathlib import Path
from typing import Any

import yaml

from segloss.grid.errors import ConfigError

# PyYAML implements YAML 1.1, where 1e-3, without a point, and 1.0e3, without an exponent sign, are text.
FLOAT = re.compile(
    r"""^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+
    |[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


# libyaml if PyYAML was built with it: every command reads the configs.
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(SafeLoader):
    """SafeLoader with unique text keys and YAML 1.2's floats."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with unique text keys; keys merged by ``<<`` may be overridden."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            problem = "not text: quote it" if not isinstance(key, str) else "a duplicate" if key in seen else None
            if problem:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is {problem}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigError: if it cannot be read, or is not valid YAML with unique text keys.
    """
    try:
        return _StrictLoader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8, got byte {error.object[error.start]:#x} at {error.start}"
        ) from error
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
