"""Steer a language model: fine-tuning, comparisons, reward model, PPO, and an honest report."""
