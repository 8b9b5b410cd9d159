"""From tables to pages: `stats` (numbers), `plots` (axes), `render` (HTML and Markdown). No torch, no Hydra."""
