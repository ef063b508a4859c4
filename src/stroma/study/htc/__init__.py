"""Files of the htc framework: names, settings, camera logs, masks, tables, data specifications and configurations."""
