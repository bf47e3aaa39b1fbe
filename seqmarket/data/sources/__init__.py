"""One file per source of event logs; each is chosen by `data=`."""
