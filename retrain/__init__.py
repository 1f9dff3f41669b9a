"""What makes a better version: datasets, trainers, scorecards, the gate, releases. The only room that knows torch."""
