"""What ``dcrnn-fast doctor`` finds over all ranks of a job, and in a job's output."""
