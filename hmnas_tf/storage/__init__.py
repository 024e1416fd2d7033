"""What is on disk, whole or not at all: the run folder, who may write into it, files of variables."""
