"""What our pages have in common: each is one HTML file that needs no network and no script."""
