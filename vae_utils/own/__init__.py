"""What lesson 08 adds: a folder of one's own pictures as images in memory, and a folder to practise on."""
