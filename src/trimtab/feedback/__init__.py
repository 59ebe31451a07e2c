"""Where judgement comes from: reward models, programs and (later) people and judges."""
