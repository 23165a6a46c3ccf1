"""One room per idea. Rooms never import one another; a flow one floor up calls both and hands values over."""
