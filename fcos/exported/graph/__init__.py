"""The parts of a detector that an exported file holds, as modules and operators that torch.export traces."""
