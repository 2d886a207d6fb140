"""What hardening and measuring cost beside plain training and a clean pass, and beside what others offer, in one run."""
