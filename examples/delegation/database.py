"""The orders of the shop behind an MCP server, which speaks over its standard streams."""

import sqlite3

from mcp.server import MCPServer

server = MCPServer("orders")
orders = sqlite3.connect(":memory:", check_same_thread=False)
orders.execute("create table orders (id integer, item text, cents integer, month text)")
orders.executemany(
    "insert into orders values (?, ?, ?, ?)",
    [
        (42, "electric kettle", 1990, "October"),
        (43, "desk lamp", 3450, "October"),
        (44, "owl calendar", 1200, "November"),
    ],
)


@server.tool()
def sales_of_month(month: str) -> str:
    """How many orders there were in a month, and what they came to."""
    count, cents = orders.execute("select count(*), sum(cents) from orders where month = ?", [month]).fetchone()
    return f"{month}: {count} orders, {(cents or 0) / 100:.2f} euros"


if __name__ == "__main__":
    server.run("stdio")
