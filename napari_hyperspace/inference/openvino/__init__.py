"""Networks on Intel's OpenVINO runtime: an optional way to run them on a CPU."""
