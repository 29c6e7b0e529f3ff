"""Real processes, real disks, a real S3 server: `make durability`."""
