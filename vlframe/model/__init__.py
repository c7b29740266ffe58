"""The model: parts by name -> one module whose forward is the diagram."""
