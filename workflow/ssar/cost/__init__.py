"""What the requested tables and figures cost before anything runs: device hours, disk, download and wall time."""
