"""What happens inside a network while it trains, layer by layer: its gradients and its activations.

Nothing is measured but on observed steps; between them nothing waits for the device.
"""
