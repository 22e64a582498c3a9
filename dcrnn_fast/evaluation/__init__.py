"""How good a forecast is: masked metrics at every horizon, honest baselines, the report and its plots."""
