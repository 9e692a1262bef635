// Saves the person one press of the button; without script the button does the same.
document.forms[0].submit();
