"""Files from elsewhere and to elsewhere: addresses, downloads, archives, S3 and published runs."""
