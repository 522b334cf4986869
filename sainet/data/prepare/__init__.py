"""From the published layouts of FASDD and PyroSDIS to Ultralytics' layout."""
