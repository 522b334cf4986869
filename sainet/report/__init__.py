"""What people read: findings, tables and plots, made from values and run folders, never a live process."""
