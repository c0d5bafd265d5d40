"""Parts of the SDK that need xarray or anywidget; they are imported when they are used."""
