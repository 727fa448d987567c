"""Output for people: pictures of samples, curves and latent spaces, texts and audio files."""
