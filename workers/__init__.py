"""A small pet store that produces events: inventory, orders, and recommendations on demand.

Its data is coherent, so that a client can detect any loss by itself: per pet, every `oldStock` is
the `newStock` before it, whatever is killed, restarted or run twice. The workers use nothing of
`broadcaster` but its public API; they show how to write producers of one's own.

The directory has a short name for readers. A wheel installs it as `broadcaster_petstore`, since
users may have a `workers` of their own; so its modules import each other relatively.

* `python -m workers inventory` changes stocks and prices (inventory.py);
* `python -m workers orders` places orders and walks them to their end (orders.py);
* `python -m workers recommendations` answers requests piece by piece (recommendations.py);
* store.py holds the pets, runner.py what all workers share: pace, waiting for Redis, stopping.
"""
