"""The model: named parts assembled into one module whose forward pass is the diagram."""
