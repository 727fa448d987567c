"""Files for people to look at, read and hear: images, curves, latent spaces, texts and audio."""
