"""What a store gives, as the types that a statement's columns have: String columns come as bytes, and mypy knows none of them."""


def text(value: object) -> str:
    """Return a String column's value as text."""
    return value.decode() if isinstance(value, bytes) else str(value)


def shown(value: object) -> str:
    """Return any value as text for people; bytes that are no UTF-8 as hexadecimal digits."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def octets(value: object) -> bytes:
    """Return a String column's value; raises TypeError where the column is none."""
    if not isinstance(value, bytes):
        raise TypeError(f"ClickHouse gave {type(value).__name__} where a String is kept")
    return value


def integer(value: object) -> int:
    """Return an integer column's value; raises TypeError where the column is none."""
    if not isinstance(value, int):
        raise TypeError(f"ClickHouse gave {value!r} where an integer is kept")
    return value
