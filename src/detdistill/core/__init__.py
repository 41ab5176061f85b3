"""What every step needs: errors, files, parameters, paths and the measure of cost."""
