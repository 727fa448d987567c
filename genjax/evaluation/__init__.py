"""Numbers of a trained model: functions of (model, variables, data) that know no run."""
