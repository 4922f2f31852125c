"""The gateway: HTTP for the clients of Marathon and Metronome, spoken to the bus as one more client."""

from components.gateway.config import GatewayConfig

__all__ = ["GatewayConfig"]
