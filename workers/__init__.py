"""A small pet store that produces events: inventory, orders, and recommendations on demand.

Its data is coherent, so a client can detect any loss by itself. For each pet, every `oldStock` is
the `newStock` before it, even if workers are killed, restarted or run twice. The workers use only
the public API of `broadcaster`. They are an example for producers of your own.

The directory has a short name for readers. A wheel installs it as `broadcaster_petstore`, because
users may have a package `workers` of their own. So its modules import each other relatively.

* `python -m workers inventory` changes stocks and prices (inventory.py);
* `python -m workers orders` places orders and walks them to their end (orders.py);
* `python -m workers recommendations` answers requests piece by piece (recommendations.py);
* `python -m workers desk` does what the page of the demo asks for (desk.py);
* store.py holds the pets;
* runner.py holds what all workers share: pace, waiting for Redis, stopping.
"""
