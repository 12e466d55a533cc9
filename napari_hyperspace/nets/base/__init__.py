"""What all families of networks share: configuration, the factory interface, and layers."""
