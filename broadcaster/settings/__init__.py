"""The settings of an operator, read from flags, the environment and a TOML file, and checked.

`node` has the settings of a node, of which `admission` and `tokens` are parts. `complaint` says in
an operator's words what is wrong with one. `files` reads the files that settings name. No other
package imports pydantic.
"""

from broadcaster.settings.node import PREFIX, Settings, load_settings, unknown_variables

__all__ = ["PREFIX", "Settings", "load_settings", "unknown_variables"]
