"""Limit orders: a bid that rests below the average price, then an offer at the average for the bought quantity.

Orders need an engine with a broker and limits; ``headrace config new CONFIG`` writes one, on paper.
Run it: ``headrace backtest CONFIG --set strategies.0.use=headrace.examples.mean_reversion:MeanReversion``
"""

from decimal import Decimal

from headrace import Strategy
from headrace.market.events import OrderCanceled, OrderEvent, OrderExpired, OrderFill, OrderRejected
from headrace.strategies.timers import Timer


class MeanReversion(Strategy):
    """Has one open order in each instrument.

    span : about how many quotes the average covers. width : how far below it the bid is, in the instrument's currency.
    """

    def __init__(
        self, span: int = 2_000, width: float = 0.05, quantity: Decimal = Decimal("0.001"), decimals: int = 2
    ) -> None:
        self.span = span
        self.width = width
        self.quantity = quantity
        self.decimals = decimals
        self.average: dict[str, float] = {}
        self.working: dict[str, str] = {}

    def on_quote(self, instrument: str, mid: float) -> None:
        """Update the average, and send an order where none is open."""
        average = self.average.get(instrument, mid)
        self.average[instrument] = average = average + (mid - average) / self.span
        self.plot("average", average, instrument=instrument)
        if instrument in self.working:
            return
        held = self.position(instrument).quantity
        if held:
            price = round(average, self.decimals)
            order_id = self.sell(instrument, held, price=price, expires_after="5s", reduce_only=True)
        else:
            price = round(average - self.width, self.decimals)
            order_id = self.buy(instrument, self.quantity, price=price, expires_after="5s")
        self.working[instrument] = order_id

    def on_fill(self, fill: OrderFill) -> None:
        """Make room for the next order when this one is filled."""
        if not fill.left:
            self.working.pop(fill.instrument, None)

    def on_order(self, event: OrderEvent) -> None:
        """Make room when the order ends in another way; after a refusal only a second later, not at the next quote."""
        if isinstance(event, OrderCanceled | OrderExpired):
            self.working.pop(event.instrument, None)
        elif isinstance(event, OrderRejected):
            self.log.warning("%s was refused: %s", event.order_id, event.reason)
            self.set_timer(event.instrument, after="1s")

    def on_timer(self, timer: Timer) -> None:
        """Try again after a refusal."""
        self.working.pop(timer.name, None)

    def on_save(self) -> dict[str, float]:
        """Return the state that a restart keeps."""
        return self.average

    def on_load(self, state: dict[str, float]) -> None:
        """Load the state that the object before this one saved."""
        self.average = state
