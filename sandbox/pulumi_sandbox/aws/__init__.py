"""AWS on this machine: moto behind a layer that refuses what AWS refuses."""
