"""What is learnt from: labelled footage, its windows as pixels or features, and remedies where labels are rare."""
