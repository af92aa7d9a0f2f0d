"""How a pass runs: packed canvases through a network, with the same bits in any company."""
